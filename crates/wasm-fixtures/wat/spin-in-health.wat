;; world: runtime-host
;; include: lifecycle.wat
;; Never comes back from `health`: a question no more harmless than a message.
;; Echoes messages.
(func $handle-message (param $message i32) (result i32)
  (call $echo (local.get $message)))

(func $health (result i32)
  (loop $forever (br $forever))
  (unreachable))
