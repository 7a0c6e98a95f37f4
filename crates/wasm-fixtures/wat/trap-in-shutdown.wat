;; world: runtime-host
;; include: lifecycle.wat
;; Traps when it is asked to stop. Echoes messages until then.
(func $handle-message (param $message i32) (result i32)
  (call $echo (local.get $message)))

(func $shutdown (result i32)
  (unreachable))
