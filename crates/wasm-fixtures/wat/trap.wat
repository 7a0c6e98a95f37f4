;; world: runtime-host
;; include: lifecycle.wat
;; Traps on a message, two functions deep, so that the frames have names to show.
;; Echoes "ok".
(func $handle-message (param $message i32) (result i32)
  (if (call $asks-ok (local.get $message))
    (then (return (call $echo (local.get $message)))))
  (call $give-up)
  (call $none))

(func $give-up
  (unreachable))
