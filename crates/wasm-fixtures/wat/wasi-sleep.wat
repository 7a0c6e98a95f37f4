;; world: wasi
;; include: lifecycle.wat
;; Waits for 2^64 - 1 ns on a WASI pollable, in a host function that this host did
;; not write, then answers "awake". Echoes "ok".
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration"
  (func $subscribe-duration (param $ns i64) (result i32)))
(import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param $pollable i32)))

(data (i32.const 0x100) "awake")

(func $handle-message (param $message i32) (result i32)
  (if (call $asks-ok (local.get $message))
    (then (return (call $echo (local.get $message)))))
  (call $block (call $subscribe-duration (i64.const -1)))
  (call $some (i32.const 0x100) (i32.const 5)))
