;; world: runtime-host
;; include: lifecycle.wat
;; Has four memories and lets each in turn grow by a page (64 KiB) until it is denied
;; one, then answers how many pages it has in all. A limit that looks at each memory
;; by itself grants four times its size.
(memory $memory (export "memory") 1)
(memory $second 1)
(memory $third 1)
(memory $fourth 1)

(func $handle-message (param $message i32) (result i32)
  (block $denied
    (loop $more
      (br_if $denied (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
      (br_if $denied (i32.eq (memory.grow $second (i32.const 1)) (i32.const -1)))
      (br_if $denied (i32.eq (memory.grow $third (i32.const 1)) (i32.const -1)))
      (br_if $denied (i32.eq (memory.grow $fourth (i32.const 1)) (i32.const -1)))
      (br $more)))
  (call $begin-text)
  (call $append-number
    (i64.extend_i32_u
      (i32.add
        (i32.add (memory.size) (memory.size $second))
        (i32.add (memory.size $third) (memory.size $fourth)))))
  (call $some (call $end-text)))
