;; world: wasi
;; include: lifecycle.wat
;; Asks WASI for 64 MiB of random bytes, which the host would have to make before it
;; finds no room for them, then answers how many it got. Echoes "ok".
(import "wasi:random/random@0.2.0" "get-random-bytes"
  (func $get-random-bytes (param $length i64) (param $result i32)))

(func $handle-message (param $message i32) (result i32)
  (if (call $asks-ok (local.get $message))
    (then (return (call $echo (local.get $message)))))
  (call $get-random-bytes (i64.const 0x4000000) (i32.const 0x40))
  (call $begin-text)
  (call $append-number (i64.load32_u (i32.const 0x44)))
  (call $some (call $end-text)))
