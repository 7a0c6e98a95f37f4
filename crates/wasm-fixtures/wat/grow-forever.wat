;; world: runtime-host
;; include: lifecycle.wat
;; Asks for another page of memory without end, whatever the host answers.
;; Echoes "ok".
(func $handle-message (param $message i32) (result i32)
  (if (call $asks-ok (local.get $message))
    (then (return (call $echo (local.get $message)))))
  (loop $forever
    (drop (memory.grow (i32.const 1)))
    (br $forever))
  (unreachable))
