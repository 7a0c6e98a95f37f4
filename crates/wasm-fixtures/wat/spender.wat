;; world: runtime-host
;; include: lifecycle.wat
;; Spends what a call may send, as the words of the payload say, with a space between
;; them: `sN` sends N bytes to demo/sink/main, `rN` requests an answer to them within
;; 1,000 ms, and `bN*M` broadcasts them to M times demo/sink/main. N is 1 MiB at most.
;; Answers a letter for each word: `+` for what was accepted, otherwise the first letter
;; of the error's case, such as `q` for queue-full. `shutdown` does so with all that a
;; call may send, and answers shutdown-failed with the letters unless each is a `+`.
(import "airssys:core/host-messaging@1.0.0" "send"
  (func $send
    (param $namespace i32) (param $namespace-length i32)
    (param $name i32) (param $name-length i32)
    (param $instance i32) (param $instance-length i32)
    (param $payload i32) (param $payload-length i32)
    (param $result i32)))
(import "airssys:core/host-messaging@1.0.0" "request"
  (func $request
    (param $namespace i32) (param $namespace-length i32)
    (param $name i32) (param $name-length i32)
    (param $instance i32) (param $instance-length i32)
    (param $payload i32) (param $payload-length i32)
    (param $timeout-ms i64)
    (param $result i32)))
(import "airssys:core/host-messaging@1.0.0" "broadcast"
  (func $broadcast
    (param $targets i32) (param $count i32)
    (param $payload i32) (param $payload-length i32)
    (param $result i32)))

(data (i32.const 0x100) "demo")
(data (i32.const 0x108) "sink")
(data (i32.const 0x110) "main")
(data (i32.const 0x118)
  "s1048576 s1048576 s1048576 s1048576 s1048576 s1048576 s1048576 s1048576 b0*1016")

(func $handle-message (param $message i32) (result i32)
  (call $some (call $spend (call $payload (local.get $message)))))

(func $shutdown (result i32)
  (local $letters i32) (local $length i32) (local $i i32)
  (call $spend (i32.const 0x118) (i32.const 79))
  (local.set $length)
  (local.set $letters)
  (loop $next
    (if (i32.ne
          (i32.load8_u (i32.add (local.get $letters) (local.get $i)))
          (i32.const 0x2b))
      (then
        (return (call $error (i32.const 3) (local.get $letters) (local.get $length)))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $i) (local.get $length))))
  (call $ok))

;; The letters for these words.
(func $spend (param $words i32) (param $length i32) (result i32 i32)
  (local $bytes i32) (local $letters i32) (local $count i32)
  (local.set $bytes
    (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0x100000)))
  (local.set $letters
    (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (local.get $length)))
  (loop $next
    (if (local.get $length)
      (then
        (call $cut (i32.const 0x80) (local.get $words) (local.get $length) (i32.const 0x20))
        (call $get-text (i32.const 0x98))
        (local.set $length)
        (local.set $words)
        (i32.store8
          (i32.add (local.get $letters) (local.get $count))
          (call $spend-once (local.get $bytes) (call $get-text (i32.const 0x80))))
        (local.set $count (i32.add (local.get $count) (i32.const 1)))
        (br $next))))
  (local.get $letters)
  (local.get $count))

(func $spend-once (param $bytes i32) (param $word i32) (param $length i32) (result i32)
  (local $kind i32) (local $size i32)
  (i32.store8 (i32.const 0x40) (i32.const 0))
  (if (i32.eqz (local.get $length))
    (then (return (i32.const 0x2b))))
  (local.set $kind (i32.load8_u (local.get $word)))
  (call $cut (i32.const 0x80)
    (i32.add (local.get $word) (i32.const 1))
    (i32.sub (local.get $length) (i32.const 1))
    (i32.const 0x2a))
  (local.set $size (i32.wrap_i64 (call $number (call $get-text (i32.const 0x80)))))
  (if (i32.eq (local.get $kind) (i32.const 0x73)) ;; s
    (then
      (call $send
        (i32.const 0x100) (i32.const 4)
        (i32.const 0x108) (i32.const 4)
        (i32.const 0x110) (i32.const 4)
        (local.get $bytes) (local.get $size)
        (i32.const 0x40))))
  (if (i32.eq (local.get $kind) (i32.const 0x72)) ;; r
    (then
      (call $request
        (i32.const 0x100) (i32.const 4)
        (i32.const 0x108) (i32.const 4)
        (i32.const 0x110) (i32.const 4)
        (local.get $bytes) (local.get $size)
        (i64.const 1000)
        (i32.const 0x40))))
  (if (i32.eq (local.get $kind) (i32.const 0x62)) ;; b
    (then
      (call $broadcast
        (call $sinks (i32.wrap_i64 (call $number (call $get-text (i32.const 0x98)))))
        (local.get $bytes) (local.get $size)
        (i32.const 0x40))))
  (if (i32.eqz (call $failed))
    (then (return (i32.const 0x2b)))) ;; +
  (call $messaging-case)
  (drop)
  (i32.load8_u))

;; A list of so many times demo/sink/main.
(func $sinks (param $count i32) (result i32 i32)
  (local $list i32) (local $end i32) (local $next i32)
  (local.set $list
    (call $realloc (i32.const 0) (i32.const 0) (i32.const 4)
      (i32.mul (local.get $count) (i32.const 24))))
  (local.set $next (local.get $list))
  (local.set $end
    (i32.add (local.get $list) (i32.mul (local.get $count) (i32.const 24))))
  (loop $more
    (if (i32.lt_u (local.get $next) (local.get $end))
      (then
        (call $put-text (local.get $next) (i32.const 0x100) (i32.const 4))
        (call $put-text (i32.add (local.get $next) (i32.const 8)) (i32.const 0x108) (i32.const 4))
        (call $put-text (i32.add (local.get $next) (i32.const 16)) (i32.const 0x110) (i32.const 4))
        (local.set $next (i32.add (local.get $next) (i32.const 24)))
        (br $more))))
  (local.get $list)
  (local.get $count))
