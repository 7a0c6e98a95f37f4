;; world: runtime-host
;; include: lifecycle.wat
;; Takes memory page by page until it is denied one, lives with that, and answers
;; how many pages (64 KiB) it has.
(func $handle-message (param $message i32) (result i32)
  (loop $more
    (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
  (call $begin-text)
  (call $append-number (i64.extend_i32_u (memory.size)))
  (call $some (call $end-text)))
