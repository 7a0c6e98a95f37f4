;; world: runtime-host
;; include: lifecycle.wat
;; Returns strings that are not UTF-8: in the error with which it answers messages,
;; and as the name in `metadata`. Echoes "ok".
(data (i32.const 0x100) "caf\e9 \ff\fe")

(func $handle-message (param $message i32) (result i32)
  (if (call $asks-ok (local.get $message))
    (then (return (call $echo (local.get $message)))))
  (call $runtime-error (i32.const 0x100) (i32.const 7)))

(func $metadata (result i32)
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 0x34))
  (call $put-text (i32.const 0) (i32.const 0x100) (i32.const 7))
  (i32.const 0))
