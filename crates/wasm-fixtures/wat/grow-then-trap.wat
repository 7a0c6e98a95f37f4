;; world: runtime-host
;; include: lifecycle.wat
;; Goes by the first letter of the payload: `grow` takes memory page by page until it is
;; denied one, lives with that, and answers how many pages (64 KiB) it has; `divide` does
;; so and then divides by zero; anything else traps at once.
(func $handle-message (param $message i32) (result i32)
  (local $letter i32) (local $length i32)
  (call $payload (local.get $message))
  (local.set $length)
  (local.set $letter)
  (if (i32.eqz (local.get $length))
    (then (unreachable)))
  (local.set $letter (i32.load8_u (local.get $letter)))
  (if (i32.eqz
        (i32.or
          (i32.eq (local.get $letter) (i32.const 0x67)) ;; g
          (i32.eq (local.get $letter) (i32.const 0x64)))) ;; d
    (then (unreachable)))
  (loop $more
    (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
  (call $begin-text)
  (call $append-number
    (i64.div_u
      (i64.extend_i32_u (memory.size))
      (i64.extend_i32_u (i32.ne (local.get $letter) (i32.const 0x64)))))
  (call $some (call $end-text)))
