;; world: runtime-host
;; include: lifecycle.wat
;; Takes memory page by page (64 KiB) until it is denied one, and does not survive
;; that. Echoes "ok".
(func $handle-message (param $message i32) (result i32)
  (if (call $asks-ok (local.get $message))
    (then (return (call $echo (local.get $message)))))
  (loop $more
    (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
  (unreachable))
