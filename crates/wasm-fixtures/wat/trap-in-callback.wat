;; world: runtime-host
;; include: lifecycle.wat
;; Traps in `handle-callback`. Echoes messages, so that one sees whether it lives.
(func $handle-message (param $message i32) (result i32)
  (call $echo (local.get $message)))

(func $handle-callback (param $message i32) (result i32)
  (unreachable))
