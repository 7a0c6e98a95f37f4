;; world: runtime-host
;; include: lifecycle.wat
;; Answers with an error, which is an answer: "ok" is still echoed afterwards.
(data (i32.const 0x100) "as asked")

(func $handle-message (param $message i32) (result i32)
  (if (call $asks-ok (local.get $message))
    (then (return (call $echo (local.get $message)))))
  (call $runtime-error (i32.const 0x100) (i32.const 8)))
