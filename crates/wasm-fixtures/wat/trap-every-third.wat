;; world: runtime-host
;; include: lifecycle.wat
;; Traps on the third message of each instance, and echoes the first two: a
;; component that works just often enough to be restarted forever.
(global $stateful i32 (i32.const 1))
(global $count (mut i32) (i32.const 0))

(func $handle-message (param $message i32) (result i32)
  (global.set $count (i32.add (global.get $count) (i32.const 1)))
  (if (i32.eqz (i32.rem_u (global.get $count) (i32.const 3)))
    (then (unreachable)))
  (call $echo (local.get $message)))
