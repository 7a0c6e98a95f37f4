;; world: timers
;; include: lifecycle.wat
;; Sets timers: `DELAY NAME` one that is due after so many milliseconds, whose id it answers,
;; and `cancel ID` takes one back. When a timer comes, the time is written down in storage
;; under its name, after the times when it came before: milliseconds and a space.
(import "airssys:core/host-timers@1.1.0" "set-timer"
  (func $set-timer (param i64 i32 i32 i32)))
(import "airssys:core/host-timers@1.1.0" "cancel-timer"
  (func $cancel-timer (param i64 i32)))
(import "airssys:core/storage@1.0.0" "get" (func $get (param i32 i32 i32)))
(import "airssys:core/storage@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32)))
(import "airssys:core/host-services@1.0.0" "current-time-millis"
  (func $current-time-millis (result i64)))

(data (i32.const 0x100) "application/vnd.airssys.timer")
(data (i32.const 0x120) "cancel ")
(data (i32.const 0x128) "true")
(data (i32.const 0x130) "false")

;; timer-error
(data (i32.const 0x140) "too-many")
(data (i32.const 0x158) "invalid")
(data (i32.const 0x170) "permission-denied")
(data (i32.const 0x188) "not-set")

(func $handle-message (param $message i32) (result i32)
  (if (call $is-timer (local.get $message))
    (then (return (call $write-down (call $payload (local.get $message))))))
  (call $cut (i32.const 0x80) (call $payload (local.get $message)) (i32.const 0x20))
  (if (call $starts-with
        (call $payload (local.get $message))
        (i32.const 0x120) (i32.const 7))
    (then (return (call $cancel (call $number (call $get-text (i32.const 0x98)))))))
  (call $set-timer
    (call $number (call $get-text (i32.const 0x80)))
    (call $get-text (i32.const 0x98))
    (i32.const 0x40))
  (if (call $failed)
    (then
      (i32.store8 (i32.const 0x44) (i32.load8_u (i32.const 0x48)))
      (return (call $timer-failed))))
  (call $begin-text)
  (call $append-number (i64.load (i32.const 0x48)))
  (call $some (call $end-text)))

(func $is-timer (param $message i32) (result i32)
  (if (i32.eqz (i32.load8_u offset=88 (local.get $message)))
    (then (return (i32.const 0))))
  (call $equal
    (call $get-text (i32.add (local.get $message) (i32.const 92)))
    (i32.const 0x100) (i32.const 29)))

(func $write-down (param $key i32) (param $key-length i32) (result i32)
  (local $at i32) (local $length i32)
  (call $get (local.get $key) (local.get $key-length) (i32.const 0x40))
  (if (call $failed)
    (then (return (call $storage-failed))))
  (call $begin-text)
  (if (i32.load8_u (i32.const 0x44))
    (then (call $append (call $get-text (i32.const 0x48)))))
  (call $append-number (call $current-time-millis))
  (call $append-byte (i32.const 0x20))
  (call $end-text)
  (local.set $length)
  (local.set $at)
  (call $set
    (local.get $key) (local.get $key-length)
    (local.get $at) (local.get $length)
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $storage-failed))))
  (call $none))

(func $cancel (param $timer i64) (result i32)
  (call $cancel-timer (local.get $timer) (i32.const 0x40))
  (if (call $failed)
    (then (return (call $timer-failed))))
  (if (result i32) (i32.load8_u (i32.const 0x44))
    (then (call $some (i32.const 0x128) (i32.const 4)))
    (else (call $some (i32.const 0x130) (i32.const 5)))))

(func $timer-failed (result i32)
  (call $runtime-error (call $case (i32.const 0x140))))
