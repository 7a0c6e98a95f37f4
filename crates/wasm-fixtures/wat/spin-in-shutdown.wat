;; world: runtime-host
;; include: lifecycle.wat
;; Never comes back from `shutdown`. Echoes messages until then.
(func $handle-message (param $message i32) (result i32)
  (call $echo (local.get $message)))

(func $shutdown (result i32)
  (loop $forever (br $forever))
  (unreachable))
