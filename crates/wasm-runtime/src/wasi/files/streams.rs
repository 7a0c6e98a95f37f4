//! Streams of open files. Neither has more than one operation going, nor more than one
//! chunk.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::node::{OpenFile, Position};
use crate::wasi::account::STREAM_BYTES;
use crate::wasi::operations::{Operation, Operations};

/// Read ahead when nobody has said how much is wanted.
const READ_AHEAD_BYTES: usize = 4 << 10;

pub(super) struct FileInput {
    file: Arc<OpenFile>,
    operations: Arc<Operations>,
    position: u64,
    wanted: usize,
    state: Input,
}

enum Input {
    Idle,
    Reading(Operation<Result<Vec<u8>, ErrorCode>>),
    Data(Bytes),
    Failed(StreamError),
    Closed,
}

impl FileInput {
    pub(super) fn new(file: Arc<OpenFile>, operations: Arc<Operations>, position: u64) -> Self {
        Self {
            file,
            operations,
            position,
            wanted: READ_AHEAD_BYTES,
            state: Input::Idle,
        }
    }
}

#[async_trait]
impl Pollable for FileInput {
    async fn ready(&mut self) {
        if let Input::Idle = self.state {
            let (file, position) = (Arc::clone(&self.file), self.position);
            let length = self.wanted.clamp(1, STREAM_BYTES);
            let begun = self.operations.start(move || file.read(length, position));
            self.state = match begun.await {
                Ok(operation) => Input::Reading(operation),
                Err(error) => Input::Failed(StreamError::Trap(error)),
            };
        }
        if let Input::Reading(operation) = &mut self.state {
            self.state = match operation.await {
                Ok(Ok(data)) if data.is_empty() => Input::Closed,
                Ok(Ok(data)) => Input::Data(data.into()),
                Ok(Err(code)) => Input::Failed(StreamError::LastOperationFailed(code.into())),
                Err(error) => Input::Failed(StreamError::Trap(error)),
            };
        }
    }
}

#[async_trait]
impl InputStream for FileInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size > 0 {
            self.wanted = size;
        }
        match std::mem::replace(&mut self.state, Input::Closed) {
            Input::Closed => Err(StreamError::Closed),
            Input::Failed(error) => Err(error),
            Input::Data(mut data) => {
                let read = data.split_to(size.min(data.len()));
                self.position += read.len() as u64;
                self.state = if data.is_empty() {
                    Input::Idle
                } else {
                    Input::Data(data)
                };
                Ok(read)
            }
            // It is read once somebody waits for it.
            other => {
                self.state = other;
                Ok(Bytes::new())
            }
        }
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size > 0 {
            self.wanted = size;
        }
        self.ready().await;
        self.read(size)
    }
}

pub(super) struct FileOutput {
    file: Arc<OpenFile>,
    operations: Arc<Operations>,
    position: Position,
    state: Output,
}

enum Output {
    Idle,
    Waiting(Vec<u8>),
    Writing(Operation<Result<u64, ErrorCode>>),
    Failed(StreamError),
    Closed,
}

impl FileOutput {
    pub(super) fn new(
        file: Arc<OpenFile>,
        operations: Arc<Operations>,
        position: Position,
    ) -> Self {
        Self {
            file,
            operations,
            position,
            state: Output::Idle,
        }
    }

    /// The error of the write before, if it failed; the stream is closed with it.
    fn check(&mut self) -> StreamResult<()> {
        match &self.state {
            Output::Idle | Output::Waiting(_) | Output::Writing(_) => Ok(()),
            Output::Failed(_) | Output::Closed => {
                match std::mem::replace(&mut self.state, Output::Closed) {
                    Output::Failed(error) => Err(error),
                    _ => Err(StreamError::Closed),
                }
            }
        }
    }
}

#[async_trait]
impl Pollable for FileOutput {
    async fn ready(&mut self) {
        if let Output::Waiting(bytes) = &mut self.state {
            let (file, position) = (Arc::clone(&self.file), self.position);
            // Kept here until its operation has a place, lest it is lost with this future.
            let chunk = bytes.clone();
            let begun = self
                .operations
                .start(move || file.write_all(&chunk, position));
            self.state = match begun.await {
                Ok(operation) => Output::Writing(operation),
                Err(error) => Output::Failed(StreamError::Trap(error)),
            };
        }
        if let Output::Writing(operation) = &mut self.state {
            self.state = match operation.await {
                Ok(Ok(written)) => {
                    if let Position::At(position) = &mut self.position {
                        *position += written;
                    }
                    Output::Idle
                }
                Ok(Err(code)) => Output::Failed(StreamError::LastOperationFailed(code.into())),
                Err(error) => Output::Failed(StreamError::Trap(error)),
            };
        }
    }
}

#[async_trait]
impl OutputStream for FileOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.check()?;
        if !matches!(self.state, Output::Idle) || bytes.len() > STREAM_BYTES {
            return Err(StreamError::trap(
                "a stream is written to only as far as check-write permits",
            ));
        }
        if !bytes.is_empty() {
            // A copy, because the guest may have handed over a part of something larger.
            self.state = Output::Waiting(bytes.to_vec());
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.check()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.check()?;
        match self.state {
            Output::Idle => Ok(STREAM_BYTES),
            _ => Ok(0),
        }
    }

    /// What was accepted is written before the stream is gone.
    async fn cancel(&mut self) {
        self.ready().await;
    }
}
