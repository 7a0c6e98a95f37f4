;; world: runtime-host
;; include: lifecycle.wat
;; Sleeps for 2^64 - 1 ms in the host, where neither fuel nor epochs reach, then
;; answers "awake". Echoes "ok".
(import "airssys:core/host-services@1.0.0" "sleep-millis" (func $sleep-millis (param i64)))

(data (i32.const 0x100) "awake")

(func $handle-message (param $message i32) (result i32)
  (if (call $asks-ok (local.get $message))
    (then (return (call $echo (local.get $message)))))
  (call $sleep-millis (i64.const -1))
  (call $some (i32.const 0x100) (i32.const 5)))
