;; world: runtime-host
;; include: lifecycle.wat
;; Never comes back from a message. Echoes "ok".
(func $handle-message (param $message i32) (result i32)
  (if (call $asks-ok (local.get $message))
    (then (return (call $echo (local.get $message)))))
  (loop $forever (br $forever))
  (unreachable))
