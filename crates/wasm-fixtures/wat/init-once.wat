;; world: runtime-host
;; include: lifecycle.wat
;; Starts only once: `initialize` leaves a mark in storage, under the key "begun",
;; and answers initialization-failed where it finds one, so that a restart fails.
;; Told anything but `ok`, it traps.
(import "airssys:core/storage@1.0.0" "exists" (func $exists (param i32 i32 i32)))
(import "airssys:core/storage@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32)))

(data (i32.const 0x100) "begun before")

(func $initialize
  (param $env i32) (param $env-length i32)
  (param $has-data i32) (param $data i32) (param $data-length i32)
  (param $memory-bytes i64) (param $time-ms i64)
  (param $has-fuel i32) (param $fuel i64)
  (result i32)
  (call $exists (i32.const 0x100) (i32.const 5) (i32.const 0x40))
  (if (call $failed)
    (then (return (call $error (i32.const 0) (call $storage-case)))))
  (if (i32.load8_u (i32.const 0x44))
    (then (return (call $error (i32.const 0) (i32.const 0x100) (i32.const 12)))))
  ;; The value is empty.
  (call $set
    (i32.const 0x100) (i32.const 5)
    (i32.const 0x100) (i32.const 0)
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $error (i32.const 0) (call $storage-case)))))
  (call $ok))

(func $handle-message (param $message i32) (result i32)
  (if (call $asks-ok (local.get $message))
    (then (return (call $echo (local.get $message)))))
  (unreachable))
