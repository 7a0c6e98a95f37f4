;; world: hello
;; The export `hello` returns 42. No lifecycle, no memory: nothing to send a
;; message to, only an export to call by its name.
(func $hello (export "hello") (result i32)
  (i32.const 42))
