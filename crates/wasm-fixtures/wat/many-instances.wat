;; A component of four core instances with a memory each. Its export `grow` lets
;; each in turn grow by a page (64 KiB) until one is denied, and returns how many
;; pages there are in all: what many-memories does with one instance.
(component
  (core module $hoard
    (memory 1)
    (func (export "grow") (result i32)
      (memory.grow (i32.const 1)))
    (func (export "size") (result i32)
      (memory.size)))
  (core instance $a (instantiate $hoard))
  (core instance $b (instantiate $hoard))
  (core instance $c (instantiate $hoard))
  (core instance $d (instantiate $hoard))

  (core module $main
    (import "a" "grow" (func $grow-a (result i32)))
    (import "a" "size" (func $size-a (result i32)))
    (import "b" "grow" (func $grow-b (result i32)))
    (import "b" "size" (func $size-b (result i32)))
    (import "c" "grow" (func $grow-c (result i32)))
    (import "c" "size" (func $size-c (result i32)))
    (import "d" "grow" (func $grow-d (result i32)))
    (import "d" "size" (func $size-d (result i32)))
    (func $grow (export "grow") (result i32)
      (block $denied
        (loop $more
          (br_if $denied (i32.eq (call $grow-a) (i32.const -1)))
          (br_if $denied (i32.eq (call $grow-b) (i32.const -1)))
          (br_if $denied (i32.eq (call $grow-c) (i32.const -1)))
          (br_if $denied (i32.eq (call $grow-d) (i32.const -1)))
          (br $more)))
      (i32.add
        (i32.add (call $size-a) (call $size-b))
        (i32.add (call $size-c) (call $size-d)))))
  (core instance $main (instantiate $main
    (with "a" (instance $a))
    (with "b" (instance $b))
    (with "c" (instance $c))
    (with "d" (instance $d))))

  (func (export "grow") (result u32)
    (canon lift (core func $main "grow"))))
