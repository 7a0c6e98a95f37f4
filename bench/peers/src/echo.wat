;; Answers what it is asked, up to a page, as a plugin made with one of Extism's kits does: it
;; takes the input out of the kernel's memory into its own, by eight bytes and the rest one by
;; one, and puts it from there into a new block of the kernel's.
(module
  (import "extism:host/env" "input_length" (func $input-length (result i64)))
  (import "extism:host/env" "input_load_u64" (func $input-load-u64 (param i64) (result i64)))
  (import "extism:host/env" "input_load_u8" (func $input-load-u8 (param i64) (result i32)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store-u64 (param i64 i64)))
  (import "extism:host/env" "store_u8" (func $store-u8 (param i64 i32)))
  (import "extism:host/env" "output_set" (func $output-set (param i64 i64)))

  (memory (export "memory") 1)

  (func (export "echo") (result i32)
    (local $length i64)
    (local $words i64) ;; The length of what is taken by eight bytes.
    (local $at i64)
    (local $output i64)
    (local.set $length (call $input-length))
    (local.set $words (i64.and (local.get $length) (i64.const -8)))

    (block $words-taken
      (loop $word
        (br_if $words-taken (i64.ge_u (local.get $at) (local.get $words)))
        (i64.store (i32.wrap_i64 (local.get $at)) (call $input-load-u64 (local.get $at)))
        (local.set $at (i64.add (local.get $at) (i64.const 8)))
        (br $word)))
    (block $taken
      (loop $byte
        (br_if $taken (i64.ge_u (local.get $at) (local.get $length)))
        (i32.store8 (i32.wrap_i64 (local.get $at)) (call $input-load-u8 (local.get $at)))
        (local.set $at (i64.add (local.get $at) (i64.const 1)))
        (br $byte)))

    (local.set $output (call $alloc (local.get $length)))
    (local.set $at (i64.const 0))
    (block $words-put
      (loop $word
        (br_if $words-put (i64.ge_u (local.get $at) (local.get $words)))
        (call $store-u64
          (i64.add (local.get $output) (local.get $at))
          (i64.load (i32.wrap_i64 (local.get $at))))
        (local.set $at (i64.add (local.get $at) (i64.const 8)))
        (br $word)))
    (block $put
      (loop $byte
        (br_if $put (i64.ge_u (local.get $at) (local.get $length)))
        (call $store-u8
          (i64.add (local.get $output) (local.get $at))
          (i32.load8_u (i32.wrap_i64 (local.get $at))))
        (local.set $at (i64.add (local.get $at) (i64.const 1)))
        (br $byte)))

    (call $output-set (local.get $output) (local.get $length))
    (i32.const 0)))
