;; world: runtime-host
;; include: lifecycle.wat
;; Sleeps for as many milliseconds as the message says in decimal, in the host,
;; then answers "awake".
(import "airssys:core/host-services@1.0.0" "sleep-millis" (func $sleep-millis (param i64)))

(data (i32.const 0x100) "awake")

(func $handle-message (param $message i32) (result i32)
  (call $sleep-millis (call $number (call $payload (local.get $message))))
  (call $some (i32.const 0x100) (i32.const 5)))
