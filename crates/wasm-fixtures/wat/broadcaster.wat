;; world: runtime-host
;; include: lifecycle.wat
;; Broadcasts: the message `namespace/name/instance,namespace/name/instance text`,
;; with any number of ids, goes to those components as the text.
(import "airssys:core/host-messaging@1.0.0" "broadcast"
  (func $broadcast
    (param $targets i32) (param $count i32)
    (param $payload i32) (param $payload-length i32)
    (param $result i32)))

(func $handle-message (param $message i32) (result i32)
  (local $ids i32) (local $ids-length i32) (local $text i32) (local $text-length i32)
  (local $targets i32) (local $target i32) (local $count i32)
  (call $cut (i32.const 0x80) (call $payload (local.get $message)) (i32.const 0x20))
  (call $get-text (i32.const 0x98))
  (local.set $text-length)
  (local.set $text)
  (call $get-text (i32.const 0x80))
  (local.set $ids-length)
  (local.set $ids)

  (loop $next
    (call $cut (i32.const 0x80) (local.get $ids) (local.get $ids-length) (i32.const 0x2c))
    (call $get-text (i32.const 0x98))
    (local.set $ids-length)
    (local.set $ids)
    (call $read-target (call $get-text (i32.const 0x80)))
    (local.set $target
      (call $realloc (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 24)))
    (memory.copy (local.get $target) (i32.const 0x80) (i32.const 24))
    (if (i32.eqz (local.get $count))
      (then (local.set $targets (local.get $target))))
    (local.set $count (i32.add (local.get $count) (i32.const 1)))
    (br_if $next (local.get $ids-length)))

  (call $broadcast
    (local.get $targets) (local.get $count)
    (local.get $text) (local.get $text-length)
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $messaging-failed))))
  (call $none))
