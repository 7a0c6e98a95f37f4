;; world: runtime-host
;; include: lifecycle.wat
;; Answers with a list that claims to be 1 GiB long, of which its memory holds the
;; first page. Echoes "ok".
(func $handle-message (param $message i32) (result i32)
  (if (call $asks-ok (local.get $message))
    (then (return (call $echo (local.get $message)))))
  (call $some (i32.const 0x1000) (i32.const 0x40000000)))
