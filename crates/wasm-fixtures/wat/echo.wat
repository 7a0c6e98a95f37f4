;; world: runtime-host
;; include: lifecycle.wat
;; Answers every message with its payload, which it never copies: a payload of
;; any length costs the component one allocation.
(func $handle-message (param $message i32) (result i32)
  (call $echo (local.get $message)))
