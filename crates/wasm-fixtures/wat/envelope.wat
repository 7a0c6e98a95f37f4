;; world: runtime-host
;; include: lifecycle.wat
;; Shows the envelope a message came in, as
;; `sender|correlation-id|reply-to|seconds.nanoseconds|content-type|payload length`
;; with a hyphen for each part that is not there; told `last`, that of the last callback,
;; or none before the first.

;; The envelope of the last callback lies at the start of the heap, this long, and stays
;; there until the next.
(global $last-length (mut i32) (i32.const 0))

(data (i32.const 0x100) "last")

(func $handle-message (param $message i32) (result i32)
  (if (call $equal (call $payload (local.get $message)) (i32.const 0x100) (i32.const 4))
    (then
      (if (global.get $last-length)
        (then (return (call $some (i32.const 0x1000) (global.get $last-length)))))
      (return (call $none))))
  (call $some (call $envelope (local.get $message))))

(func $handle-callback (param $message i32) (result i32)
  (local $at i32) (local $length i32)
  (call $envelope (local.get $message))
  (local.set $length)
  (local.set $at)
  (memory.copy (i32.const 0x1000) (local.get $at) (local.get $length))
  (global.set $last-length (local.get $length))
  (global.set $kept (i32.add (i32.const 0x1000) (local.get $length)))
  (call $ok))

(func $envelope (param $message i32) (result i32 i32)
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
  (call $end-text))
