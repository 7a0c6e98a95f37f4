;; world: runtime-host
;; include: lifecycle.wat
;; Counts messages in its memory and answers the count so far, so that a lost or
;; shared memory shows.
(global $stateful i32 (i32.const 1))
(global $count (mut i64) (i64.const 0))

(func $handle-message (param $message i32) (result i32)
  (global.set $count (i64.add (global.get $count) (i64.const 1)))
  (call $begin-text)
  (call $append-number (global.get $count))
  (call $some (call $end-text)))
