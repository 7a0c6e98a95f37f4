;; world: runtime-host
;; include: lifecycle.wat
;; Counts messages in storage, under the key "count", so that the count outlives
;; the instance.
(import "airssys:core/storage@1.0.0" "get" (func $get (param i32 i32 i32)))
(import "airssys:core/storage@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32)))

(global $stateful i32 (i32.const 1))

(data (i32.const 0x100) "count")

(func $handle-message (param $message i32) (result i32)
  (local $count i64) (local $at i32) (local $length i32)
  (call $get (i32.const 0x100) (i32.const 5) (i32.const 0x40))
  (if (call $failed)
    (then (return (call $storage-failed))))
  (if (i32.load8_u (i32.const 0x44))
    (then (local.set $count (call $number (call $get-text (i32.const 0x48))))))
  (call $begin-text)
  (call $append-number (i64.add (local.get $count) (i64.const 1)))
  (call $end-text)
  (local.set $length)
  (local.set $at)
  (call $set
    (i32.const 0x100) (i32.const 5)
    (local.get $at) (local.get $length)
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $storage-failed))))
  (call $some (local.get $at) (local.get $length)))
