//! What a thing in a folder is, as WASI calls it.

use cap_primitives::fs::{FileType, FileTypeExt};
use wasmtime_wasi::p2::bindings::filesystem::types::DescriptorType;

pub(super) fn descriptor_type(file_type: FileType) -> DescriptorType {
    if file_type.is_dir() {
        DescriptorType::Directory
    } else if file_type.is_symlink() {
        DescriptorType::SymbolicLink
    } else if file_type.is_file() {
        DescriptorType::RegularFile
    } else if file_type.is_block_device() {
        DescriptorType::BlockDevice
    } else if file_type.is_char_device() {
        DescriptorType::CharacterDevice
    } else if file_type.is_fifo() {
        DescriptorType::Fifo
    } else if file_type.is_socket() {
        DescriptorType::Socket
    } else {
        DescriptorType::Unknown
    }
}
