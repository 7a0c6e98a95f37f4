;; world: runtime-host
;; include: lifecycle.wat
;; Stores 1 KiB under one key after the other until storage refuses, then answers
;; how many it took and why there was no more, as `count case`.
(import "airssys:core/storage@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32)))

(global $stateful i32 (i32.const 1))

(func $handle-message (param $message i32) (result i32)
  (local $count i64) (local $before i32) (local $key i32) (local $key-length i32)
  (local.set $before (global.get $heap))
  (block $refused
    (loop $next
      (global.set $heap (local.get $before))
      (call $begin-text)
      (call $append-number (local.get $count))
      (call $end-text)
      (local.set $key-length)
      (local.set $key)
      (call $set
        (local.get $key) (local.get $key-length)
        (i32.const 0x400) (i32.const 0x400)
        (i32.const 0x40))
      (br_if $refused (call $failed))
      (local.set $count (i64.add (local.get $count) (i64.const 1)))
      (br $next)))
  (call $begin-text)
  (call $append-number (local.get $count))
  (call $append-byte (i32.const 0x20))
  (call $append (call $storage-case))
  (call $some (call $end-text)))
