;; world: runtime-host
;; include: lifecycle.wat
;; Broadcasts 1 KiB to demo/sink/main, named 10,000 times in one call, then answers
;; none.
(import "airssys:core/host-messaging@1.0.0" "broadcast"
  (func $broadcast
    (param $targets i32) (param $count i32)
    (param $payload i32) (param $payload-length i32)
    (param $result i32)))

(data (i32.const 0x100) "demo")
(data (i32.const 0x108) "sink")
(data (i32.const 0x110) "main")

(func $handle-message (param $message i32) (result i32)
  (local $targets i32) (local $i i32)
  (call $put-text (i32.const 0x80) (i32.const 0x100) (i32.const 4))
  (call $put-text (i32.const 0x88) (i32.const 0x108) (i32.const 4))
  (call $put-text (i32.const 0x90) (i32.const 0x110) (i32.const 4))
  (local.set $targets
    (call $realloc (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 240000)))
  (loop $next
    (memory.copy
      (i32.add (local.get $targets) (i32.mul (local.get $i) (i32.const 24)))
      (i32.const 0x80)
      (i32.const 24))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $i) (i32.const 10000))))
  (call $broadcast
    (local.get $targets) (i32.const 10000)
    (i32.const 0x400) (i32.const 0x400)
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $messaging-failed))))
  (call $none))
