;; world: other-world
;; A component of another system: it adds two numbers and greets by name, and has
;; never heard of messages. A name longer than its memory traps.
(memory (export "memory") 1)

(data (i32.const 8) "Hello, ")

;; The name goes right behind the greeting.
(func (export "cabi_realloc")
  (param $old i32) (param $old-size i32) (param $align i32) (param $size i32)
  (result i32)
  (if (i32.gt_u (local.get $size) (i32.const 0xff00))
    (then (unreachable)))
  (i32.const 15))

(func $add (export "acme:calc/ops@1.0.0#add") (param $a i32) (param $b i32) (result i32)
  (i32.add (local.get $a) (local.get $b)))

(func $greet (export "greet") (param $name i32) (param $length i32) (result i32)
  (i32.store (i32.const 0) (i32.const 8))
  (i32.store (i32.const 4) (i32.add (i32.const 7) (local.get $length)))
  (i32.const 0))
