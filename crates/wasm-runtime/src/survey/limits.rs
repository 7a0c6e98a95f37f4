//! What there may be of everything that costs something to compile or to instantiate.

use wasm_core::Defect;

/// What there may be how much of.
pub(crate) struct Limit {
    what: &'static str,
    most: u64,
}

impl Limit {
    const fn of(what: &'static str, most: u64) -> Self {
        Self { what, most }
    }

    /// For what is counted again while it is made.
    pub(crate) fn most(&self) -> usize {
        usize::try_from(self.most).unwrap_or(usize::MAX)
    }

    pub(super) fn check(&self, found: u64) -> Result<(), Defect> {
        if found <= self.most {
            return Ok(());
        }
        Err(Defect::TooComplex {
            what: self.what,
            found,
            limit: self.most,
        })
    }
}

// Of the whole component, where one that is instantiated often counts as often.

/// Twice and more what the largest components of known toolchains have: Python has 110 of
/// these and 12 tables. Each costs host memory that no limit of the guest's own memory
/// covers.
pub(crate) const CORE_INSTANCES: Limit = Limit::of("core instances", 256);
pub(crate) const TABLES: Limit = Limit::of("tables", 64);

/// Known toolchains need two. Each reserves over 4 GiB of address space, however
/// little of it is used.
pub(crate) const MEMORIES: Limit = Limit::of("memories", 8);

/// QuickJS has 5. Composed programs have one for each part.
pub(super) const COMPONENT_INSTANCES: Limit = Limit::of("component instances", 256);

/// What wasmtime goes through one by one when it flattens components: Python has
/// 3,400.
pub(super) const DEFINITIONS: Limit = Limit::of("definitions in components", 50_000);

/// Of what no memory limit covers: Python and SpiderMonkey take half a MiB.
pub(super) const HOST_BYTES: Limit = Limit::of("bytes of host memory for instances", 4 << 20);

// Of what is compiled, once however often it is instantiated.

/// QuickJS has 2. Each takes a parser's and a validator's state.
pub(super) const LEVELS: Limit = Limit::of("levels of components in components", 32);

/// Python has 14. Each becomes an image of its own, on pages of its own.
pub(super) const MODULES: Limit = Limit::of("core modules", 128);

/// Python has 13,400. Even an empty one takes about a KiB to compile.
pub(super) const FUNCTIONS: Limit = Limit::of("functions", 1 << 16);

/// Python has 1,100.
pub(super) const TYPES: Limit = Limit::of("types of functions", 1 << 14);

/// Python has 6,500.
pub(super) const IMPORTS_AND_EXPORTS: Limit =
    Limit::of("imports and exports of core modules", 1 << 16);

/// Python has 880.
pub(super) const GLOBALS: Limit = Limit::of("globals", 1 << 14);

/// Python has 8.
pub(super) const ELEMENT_SEGMENTS: Limit = Limit::of("element segments", 1 << 10);

/// SpiderMonkey has 7,950. Those that cannot be laid out in advance are compiled,
/// one by one.
pub(super) const ELEMENTS: Limit = Limit::of("elements in segments", 1 << 16);

/// SpiderMonkey has 8,000. wasmtime lays out tables in advance, gaps and all.
pub(crate) const TABLE_ELEMENTS: Limit = Limit::of("elements in tables", 1 << 22);

/// Go has 43,000.
pub(super) const DATA_SEGMENTS: Limit = Limit::of("data segments", 1 << 17);

/// wasmtime lays out data in advance as it will be in memory, gaps and all: Python
/// has 12 MB.
pub(super) const IMAGE_BYTES: Limit = Limit::of("bytes of memory images", 64 << 20);

/// SpiderMonkey has 6 million, PHP 12. Each takes microseconds to compile.
pub(super) const INSTRUCTIONS: Limit = Limit::of("instructions", 14 << 20);

/// SpiderMonkey has 11 million; a million takes half a second.
pub(super) const KEPT_VALUES: Limit = Limit::of("values kept across branches", 1 << 25);

// For each KiB of the file, so that what is small costs little: beyond what any may have.

/// SpiderMonkey has 600, QuickJS 700, SQLite 800.
pub(super) const INSTRUCTIONS_PER_KIB: Limit = Limit::of("instructions for each KiB", 1 << 10);

/// A second or two of compiling.
pub(super) const SPARE_INSTRUCTIONS: u64 = 1 << 19;

/// SpiderMonkey and Ruby have 1,100, SQLite 1,300.
pub(super) const KEPT_VALUES_PER_KIB: Limit =
    Limit::of("values kept across branches for each KiB", 2 << 10);

/// As many as one function may have.
pub(super) const SPARE_KEPT_VALUES: u64 = 1 << 21;

/// Python has 650: there is hardly a gap in what toolchains make.
pub(super) const IMAGE_BYTES_PER_KIB: Limit =
    Limit::of("bytes of memory images for each KiB", 4 << 10);

pub(super) const SPARE_IMAGE_BYTES: u64 = 16 << 20;

// Of one function: all of it is in the compiler's memory at once.

/// Python has one of 167,000. Each takes up to 2.5 KiB to compile.
pub(super) const FUNCTION_INSTRUCTIONS: Limit = Limit::of("instructions in one function", 1 << 18);

/// SpiderMonkey, SQLite, Ruby and what Rust makes have some of 600 to 700.
pub(super) const FUNCTION_INSTRUCTIONS_PER_KIB: Limit =
    Limit::of("instructions for each KiB of one function", 1 << 10);

pub(super) const SPARE_FUNCTION_INSTRUCTIONS: u64 = 1 << 15;

/// Python has one of 780; a switch of 3,457 cases, which a compiler written in Go has, is as
/// many blocks. Stacks of the compiler grow with it, and time with the square.
pub(super) const FUNCTION_BLOCKS: Limit =
    Limit::of("blocks within each other in one function", 8_000);

/// SpiderMonkey has one of 820,000. A million takes half a second and 150 MB.
pub(super) const FUNCTION_KEPT_VALUES: Limit =
    Limit::of("values kept across branches in one function", 1 << 21);

// Of types, with all that they refer to written out.

/// Python has 9,000. Each takes about a KiB while it is compiled.
pub(super) const INSTANCE_ITEMS: Limit = Limit::of("items of component instances", 1 << 17);

/// A component of all interfaces of WASI has 700. Each takes up to 3 KiB while it is
/// compiled.
pub(super) const EXPORTED_ITEMS: Limit = Limit::of("items of exports", 1 << 14);

/// Nobody can tell what they cost, and no toolchain makes any.
pub(super) const HANDED: Limit = Limit::of("instances of what a component is handed", 0);

/// What counts as so many instructions: a call of the host, with registers to save,
/// or a check with code of its own, such as that of a loop for fuel and time.
pub(super) const HEAVY: u64 = 10;

/// What a function counts as, however short it is.
pub(super) const FUNCTION: u64 = 64;

/// The square of how deep a function's blocks are within each other, in so many parts, counts as
/// instructions: a compiler's time grows with it.
pub(super) const DEPTHS_PER_INSTRUCTION: u64 = 128;

/// More than any operator takes and gives that always has as many operands; each beyond
/// counts as an instruction.
pub(super) const FEW_VALUES: u64 = 8;

/// What a byte of a constant expression counts as: where it cannot be evaluated in advance,
/// each instruction becomes several.
pub(super) const EXPRESSION: u64 = 4;

/// Branches so far that cost as much as a value that is kept: what a compiler does
/// for a block takes longer the more blocks there are.
pub(super) const BRANCHES_PER_VALUE: u64 = 256;

/// How large an image wasmtime lays out even if it is mostly gaps.
pub(super) const GAPPY_IMAGE_BYTES: u64 = 16 << 20;

/// The unit in which it looks for gaps; the host's, at its smallest.
pub(super) const PAGE_BYTES: u64 = 4 << 10;

/// Elements of the largest table that it lays out.
pub(super) const LARGEST_TABLE_LAID_OUT: u64 = 1 << 20;

/// In an instance as wasmtime keeps it: a global, or an element of a segment that
/// is not used up when it starts.
pub(super) const VALUE_BYTES: u64 = 16;

/// A function that can be referred to, or an import: up to four pointers.
pub(super) const REFERENCE_BYTES: u64 = 32;

static LIMITS: [&Limit; 29] = [
    &CORE_INSTANCES,
    &TABLES,
    &MEMORIES,
    &COMPONENT_INSTANCES,
    &DEFINITIONS,
    &HOST_BYTES,
    &LEVELS,
    &MODULES,
    &FUNCTIONS,
    &TYPES,
    &IMPORTS_AND_EXPORTS,
    &GLOBALS,
    &ELEMENT_SEGMENTS,
    &ELEMENTS,
    &TABLE_ELEMENTS,
    &DATA_SEGMENTS,
    &IMAGE_BYTES,
    &INSTRUCTIONS,
    &INSTRUCTIONS_PER_KIB,
    &IMAGE_BYTES_PER_KIB,
    &KEPT_VALUES,
    &KEPT_VALUES_PER_KIB,
    &FUNCTION_INSTRUCTIONS,
    &FUNCTION_INSTRUCTIONS_PER_KIB,
    &FUNCTION_BLOCKS,
    &FUNCTION_KEPT_VALUES,
    &INSTANCE_ITEMS,
    &EXPORTED_ITEMS,
    &HANDED,
];

/// The defect that another process found, by the name of the limit.
pub(crate) fn excess(what: &str, found: u64) -> Option<Defect> {
    let limit = LIMITS.iter().find(|limit| limit.what == what)?;
    limit.check(found).err()
}

/// Why a component is not compiled.
#[derive(Debug)]
pub(crate) enum Rejection {
    Invalid(wasmparser::Error),
    TooComplex(Defect),
}

impl From<wasmparser::Error> for Rejection {
    fn from(error: wasmparser::Error) -> Self {
        Self::Invalid(error)
    }
}

impl From<Defect> for Rejection {
    fn from(defect: Defect) -> Self {
        Self::TooComplex(defect)
    }
}

/// What there may be for each KiB of so many bytes, and what any may have besides.
pub(super) struct Density {
    per_kib: &'static Limit,
    spare: u64,
    bytes: u64,
}

impl Density {
    pub(super) fn of(per_kib: &'static Limit, spare: u64, bytes: usize) -> Self {
        Self {
            per_kib,
            spare,
            bytes: bytes as u64,
        }
    }

    pub(super) fn check(&self, found: u64) -> Result<(), Defect> {
        let beyond = found.saturating_sub(self.spare);
        let per_kib = beyond.saturating_mul(1 << 10);
        self.per_kib.check(per_kib.div_ceil(self.bytes.max(1)))
    }
}

/// How much of something was found so far.
pub(super) struct Tally {
    limit: &'static Limit,
    density: Option<Density>,
    found: u64,
    /// What costs too little for its density to matter.
    light: u64,
}

impl Tally {
    pub(super) fn of(limit: &'static Limit) -> Self {
        Self {
            limit,
            density: None,
            found: 0,
            light: 0,
        }
    }

    pub(super) fn within(self, density: Density) -> Self {
        Self {
            density: Some(density),
            ..self
        }
    }

    pub(super) fn sum(&self) -> u64 {
        self.found.saturating_add(self.light)
    }

    pub(super) fn add(&mut self, more: u64) -> Result<(), Defect> {
        self.found = self.found.saturating_add(more);
        self.limit.check(self.sum())?;
        self.density
            .iter()
            .try_for_each(|density| density.check(self.found))
    }

    pub(super) fn add_light(&mut self, more: u64) -> Result<(), Defect> {
        self.light = self.light.saturating_add(more);
        self.limit.check(self.sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static EGGS: Limit = Limit::of("eggs", 100);
    static EGGS_PER_KIB: Limit = Limit::of("eggs for each KiB", 3);

    fn refused(checked: Result<(), Defect>) -> Option<(&'static str, u64, u64)> {
        match checked {
            Ok(()) => None,
            Err(Defect::TooComplex { what, found, limit }) => Some((what, found, limit)),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn there_may_be_as_many_as_the_limit_says() {
        assert_eq!(refused(EGGS.check(100)), None);
        assert_eq!(refused(EGGS.check(101)), Some(("eggs", 101, 100)));
        assert_eq!(EGGS.most(), 100);
    }

    #[test]
    fn a_file_of_two_kib_may_have_twice_what_each_may_and_what_any_may() {
        let density = Density::of(&EGGS_PER_KIB, 10, 2 << 10);
        assert_eq!(refused(density.check(16)), None);
        // Three and a half for each.
        assert_eq!(
            refused(density.check(17)),
            Some(("eggs for each KiB", 4, 3))
        );
        let empty = Density::of(&EGGS_PER_KIB, 10, 0);
        assert_eq!(refused(empty.check(10)), None);
        assert!(refused(empty.check(11)).is_some());
    }

    #[test]
    fn a_file_may_have_so_much_however_small_it_is() {
        for (per_kib, spare, most) in [
            (&INSTRUCTIONS_PER_KIB, SPARE_INSTRUCTIONS, 524_288),
            (
                &FUNCTION_INSTRUCTIONS_PER_KIB,
                SPARE_FUNCTION_INSTRUCTIONS,
                32_768,
            ),
            (&KEPT_VALUES_PER_KIB, SPARE_KEPT_VALUES, 2_097_152),
            (&IMAGE_BYTES_PER_KIB, SPARE_IMAGE_BYTES, 16_777_216),
        ] {
            let density = Density::of(per_kib, spare, 0);
            assert_eq!(refused(density.check(most)), None, "{}", per_kib.what);
            let more = density.check(most + per_kib.most);
            assert!(refused(more).is_some(), "{}", per_kib.what);
        }
    }

    #[test]
    fn what_is_light_counts_but_for_density() {
        let mut tally = Tally::of(&EGGS).within(Density::of(&EGGS_PER_KIB, 0, 1 << 10));
        assert_eq!(refused(tally.add(3)), None);
        assert_eq!(refused(tally.add_light(97)), None);
        assert_eq!(tally.sum(), 100);
        assert_eq!(refused(tally.add_light(1)), Some(("eggs", 101, 100)));
        let mut tally = Tally::of(&EGGS).within(Density::of(&EGGS_PER_KIB, 0, 1 << 10));
        assert_eq!(refused(tally.add(4)), Some(("eggs for each KiB", 4, 3)));
    }

    /// What a process of its own says of a component is checked here again.
    #[test]
    fn an_excess_is_told_by_the_name_of_its_limit() {
        let told = |what, found| excess(what, found).and_then(|defect| refused(Err(defect)));
        assert_eq!(told("tables", 65), Some(("tables", 65, 64)));
        assert_eq!(told("tables", 64), None);
        assert_eq!(told("memories", 9), Some(("memories", 9, 8)));
        assert_eq!(told("dreams", u64::MAX), None);
    }

    #[test]
    fn a_component_may_have_some_of_everything_but_of_what_nobody_knows() {
        for limit in LIMITS {
            let may_have_some = limit.check(1).is_ok();
            assert_eq!(may_have_some, limit.what != HANDED.what, "{}", limit.what);
        }
    }
}
