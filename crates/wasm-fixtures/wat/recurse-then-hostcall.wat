;; world: runtime-host
;; include: lifecycle.wat
;; Calls itself as many times as the message says in decimal, then the host, which
;; finds that much less of the stack; then answers "back".
(import "airssys:core/host-services@1.0.0" "current-time-millis"
  (func $current-time-millis (result i64)))

(data (i32.const 0x100) "back")

(func $handle-message (param $message i32) (result i32)
  (drop (call $deeper (call $number (call $payload (local.get $message)))))
  (call $some (i32.const 0x100) (i32.const 4)))

;; Adds after the call, so that no compiler makes a loop of it.
(func $deeper (param $depth i64) (result i64)
  (if (i64.eqz (local.get $depth))
    (then (return (call $current-time-millis))))
  (i64.add
    (call $deeper (i64.sub (local.get $depth) (i64.const 1)))
    (local.get $depth)))
