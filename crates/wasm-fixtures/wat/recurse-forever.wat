;; world: runtime-host
;; include: lifecycle.wat
;; Calls itself until the stack is used up. Echoes "ok".
(func $handle-message (param $message i32) (result i32)
  (if (call $asks-ok (local.get $message))
    (then (return (call $echo (local.get $message)))))
  (drop (call $deeper (i32.const 0)))
  (call $none))

;; Adds after the call, so that no compiler makes a loop of it.
(func $deeper (param $depth i32) (result i32)
  (i32.add
    (call $deeper (i32.add (local.get $depth) (i32.const 1)))
    (local.get $depth)))
