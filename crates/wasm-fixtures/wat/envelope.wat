;; world: runtime-host
;; include: lifecycle.wat
;; Shows the envelope a message came in, as
;; `sender|correlation-id|reply-to|seconds.nanoseconds|content-type|payload length`
;; with a hyphen for each part that is not there.
(func $handle-message (param $message i32) (result i32)
  (call $begin-text)
  (call $append-id (local.get $message))
  (call $append-byte (i32.const 0x7c))
  (call $append-option (i32.add (local.get $message) (i32.const 32)))
  (call $append-byte (i32.const 0x7c))
  (if (i32.load8_u offset=44 (local.get $message))
    (then (call $append-id (i32.add (local.get $message) (i32.const 48))))
    (else (call $append-byte (i32.const 0x2d))))
  (call $append-byte (i32.const 0x7c))
  (call $append-time (i32.add (local.get $message) (i32.const 72)))
  (call $append-byte (i32.const 0x7c))
  (call $append-option (i32.add (local.get $message) (i32.const 88)))
  (call $append-byte (i32.const 0x7c))
  (call $append-number (i64.load32_u offset=28 (local.get $message)))
  (call $some (call $end-text)))
