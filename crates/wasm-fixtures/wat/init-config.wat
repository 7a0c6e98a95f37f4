;; world: runtime-host
;; include: lifecycle.wat
;; Shows what `initialize` was given. Any message: the config-data, or none; `env`:
;; the environment as lines KEY=VALUE; `limits`: bytes of memory, milliseconds, and
;; fuel or "unmetered".
(global $env (mut i32) (i32.const 0))
(global $env-length (mut i32) (i32.const 0))
(global $has-data (mut i32) (i32.const 0))
(global $data (mut i32) (i32.const 0))
(global $data-length (mut i32) (i32.const 0))
(global $memory-bytes (mut i64) (i64.const 0))
(global $time-ms (mut i64) (i64.const 0))
(global $has-fuel (mut i32) (i32.const 0))
(global $fuel (mut i64) (i64.const 0))

(data (i32.const 0x100) "env")
(data (i32.const 0x108) "limits")
(data (i32.const 0x110) "unmetered")

(func $initialize
  (param $env i32) (param $env-length i32)
  (param $has-data i32) (param $data i32) (param $data-length i32)
  (param $memory-bytes i64) (param $time-ms i64)
  (param $has-fuel i32) (param $fuel i64)
  (result i32)
  (global.set $env (local.get $env))
  (global.set $env-length (local.get $env-length))
  (global.set $has-data (local.get $has-data))
  (global.set $data (local.get $data))
  (global.set $data-length (local.get $data-length))
  (global.set $memory-bytes (local.get $memory-bytes))
  (global.set $time-ms (local.get $time-ms))
  (global.set $has-fuel (local.get $has-fuel))
  (global.set $fuel (local.get $fuel))
  (call $keep-heap)
  (call $ok))

(func $handle-message (param $message i32) (result i32)
  (if (call $equal (call $payload (local.get $message)) (i32.const 0x100) (i32.const 3))
    (then (return (call $answer-env))))
  (if (call $equal (call $payload (local.get $message)) (i32.const 0x108) (i32.const 6))
    (then (return (call $answer-limits))))
  (if (global.get $has-data)
    (then (return (call $some (global.get $data) (global.get $data-length)))))
  (call $none))

(func $answer-env (result i32)
  (local $i i32) (local $pair i32)
  (call $begin-text)
  (block $done
    (loop $next
      (br_if $done (i32.eq (local.get $i) (global.get $env-length)))
      (local.set $pair
        (i32.add (global.get $env) (i32.mul (local.get $i) (i32.const 16))))
      (call $append (call $get-text (local.get $pair)))
      (call $append-byte (i32.const 0x3d))
      (call $append (call $get-text (i32.add (local.get $pair) (i32.const 8))))
      (call $append-byte (i32.const 0x0a))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $next)))
  (call $some (call $end-text)))

(func $answer-limits (result i32)
  (call $begin-text)
  (call $append-number (global.get $memory-bytes))
  (call $append-byte (i32.const 0x20))
  (call $append-number (global.get $time-ms))
  (call $append-byte (i32.const 0x20))
  (if (global.get $has-fuel)
    (then (call $append-number (global.get $fuel)))
    (else (call $append (i32.const 0x110) (i32.const 9))))
  (call $some (call $end-text)))
