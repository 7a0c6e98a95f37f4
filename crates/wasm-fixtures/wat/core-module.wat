;; A WebAssembly module that is valid but not a component.
(module
  (func (export "hello") (result i32)
    (i32.const 42)))
