//! What compiling and instantiating a component will cost the host, found before wasmtime
//! sees it: by one linear pass that counts what there is, and a second one, of what is
//! little enough to be validated, that looks at functions and types.
//!
//! No limit of a guest's applies while its component is compiled, and a compiler's
//! time and memory grow faster than its input. Every limit here has room above the
//! largest of the components that were measured: C, Rust and Go programs, QuickJS,
//! SpiderMonkey (12 to 14 MB) and a Python interpreter (19 MB).

mod count;
mod limits;
pub(crate) mod proposals;
mod sizes;
mod validated;

use wasmparser::{Parser, ValidPayload, Validator, WasmFeatures};

pub use self::count::ComponentNeeds;
pub(crate) use self::count::count;
use self::limits::HANDED;
pub(crate) use self::limits::{
    CORE_INSTANCES, MEMORIES, Rejection, TABLE_ELEMENTS, TABLES, excess,
};
use self::validated::Inspection;

/// What wasmtime does not support, it has to say itself.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Rejection> {
    inspect(bytes).map(drop)
}

fn inspect(bytes: &[u8]) -> Result<Inspection, Rejection> {
    let counted = count(bytes)?;
    let mut inspection = Inspection::new(bytes.len(), counted.instructions);
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        if let ValidPayload::Func(function, body) = validator.payload(&payload)? {
            inspection.function(function, &body)?;
        }
        if let Some(types) = validator.types(0) {
            inspection.section(&payload, types)?;
        }
    }
    // An index that means nothing is known now to be no accident.
    HANDED.check(counted.handed)?;
    Ok(inspection)
}
