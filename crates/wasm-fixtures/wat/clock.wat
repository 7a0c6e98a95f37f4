;; world: runtime-host
;; include: lifecycle.wat
;; Tells the time: milliseconds since the Unix epoch, or, asked for `time`,
;; seconds.nanoseconds.
(import "airssys:core/host-services@1.0.0" "current-time-millis"
  (func $current-time-millis (result i64)))
(import "airssys:core/host-services@1.0.0" "current-time"
  (func $current-time (param $result i32)))

(data (i32.const 0x100) "time")

(func $handle-message (param $message i32) (result i32)
  (call $begin-text)
  (if (call $equal (call $payload (local.get $message)) (i32.const 0x100) (i32.const 4))
    (then
      (call $current-time (i32.const 0x40))
      (call $append-time (i32.const 0x40)))
    (else
      (call $append-number (call $current-time-millis))))
  (call $some (call $end-text)))
