;; world: runtime-host
;; include: lifecycle.wat
;; Is as well as it is told to be: `healthy`, `degraded` or `unhealthy`; any other
;; message leaves its health unknown.
(global $stateful i32 (i32.const 1))
(global $status (mut i32) (i32.const 0))

(data (i32.const 0x100) "healthy")
(data (i32.const 0x108) "degraded")
(data (i32.const 0x110) "unhealthy")

(func $handle-message (param $message i32) (result i32)
  (global.set $status (call $status (call $payload (local.get $message))))
  (call $none))

(func $status (param $at i32) (param $length i32) (result i32)
  (if (call $equal (local.get $at) (local.get $length) (i32.const 0x100) (i32.const 7))
    (then (return (i32.const 0))))
  (if (call $equal (local.get $at) (local.get $length) (i32.const 0x108) (i32.const 8))
    (then (return (i32.const 1))))
  (if (call $equal (local.get $at) (local.get $length) (i32.const 0x110) (i32.const 9))
    (then (return (i32.const 2))))
  (i32.const 3))

(func $health (result i32)
  (global.get $status))
