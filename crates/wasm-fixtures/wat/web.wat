;; wit: web.wit
;; world: web
;; Answers HTTP requests, each as the first letters of its path say:
;;   /echo     the request's body, piece by piece as it comes
;;   /count    how many requests this instance has answered, as a digit
;;   /flow     pieces of 4 KiB without an end, until nobody takes them
;;   /wait     a first piece, then an hour of waiting
;;   /spin     computes for ever before it answers; /later a first piece before it does
;;   /grow     takes memory until there is none, and gives up
;;   /trap     gives up; /broken a first piece before it does
;;   /part     a first piece, and an end that is none; /open a first piece, and no end of any
;;             kind; /shut the same, but for the end of the stream of pieces
;;   /none     no response at all
;;   /error    an error code in place of a response
;;   /fetch?   what the URL in the query answers: its status as header, and its body; an
;;             error code in place of it as the number of its case
;;   anything  the word hello
(import "wasi:http/types@0.2.0" "[method]incoming-request.path-with-query"
  (func $path (param i32 i32)))
(import "wasi:http/types@0.2.0" "[method]incoming-request.consume"
  (func $request-body (param i32 i32)))
(import "wasi:http/types@0.2.0" "[method]incoming-body.stream"
  (func $body-stream (param i32 i32)))
(import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
(import "wasi:http/types@0.2.0" "[method]fields.append"
  (func $append (param i32 i32 i32 i32 i32 i32)))
(import "wasi:http/types@0.2.0" "[constructor]outgoing-response"
  (func $response (param i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]outgoing-response.body"
  (func $response-body (param i32 i32)))
(import "wasi:http/types@0.2.0" "[method]outgoing-body.write"
  (func $write-body (param i32 i32)))
(import "wasi:http/types@0.2.0" "[static]outgoing-body.finish"
  (func $finish (param i32 i32 i32 i32)))
(import "wasi:http/types@0.2.0" "[static]response-outparam.set"
  (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
(import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read"
  (func $read (param i32 i64 i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
  (func $write (param i32 i32 i32 i32)))
(import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop-output (param i32)))
(import "wasi:io/streams@0.2.0" "[resource-drop]input-stream" (func $drop-input (param i32)))
(import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
(import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop-pollable (param i32)))
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration"
  (func $after (param i64) (result i32)))
(import "wasi:http/types@0.2.0" "[resource-drop]incoming-body" (func $drop-body (param i32)))
(import "wasi:http/types@0.2.0" "[resource-drop]incoming-request"
  (func $drop-request (param i32)))
(import "wasi:http/types@0.2.0" "[resource-drop]outgoing-body"
  (func $drop-outgoing-body (param i32)))
(import "wasi:http/types@0.2.0" "[constructor]outgoing-request"
  (func $outgoing-request (param i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]outgoing-request.set-scheme"
  (func $set-scheme (param i32 i32 i32 i32 i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]outgoing-request.set-authority"
  (func $set-authority (param i32 i32 i32 i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]outgoing-request.set-path-with-query"
  (func $set-path (param i32 i32 i32 i32) (result i32)))
(import "wasi:http/outgoing-handler@0.2.0" "handle" (func $send (param i32 i32 i32 i32)))
(import "wasi:http/types@0.2.0" "[method]future-incoming-response.subscribe"
  (func $subscribe (param i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]future-incoming-response.get"
  (func $get (param i32 i32)))
(import "wasi:http/types@0.2.0" "[resource-drop]future-incoming-response"
  (func $drop-future (param i32)))
(import "wasi:http/types@0.2.0" "[method]incoming-response.status"
  (func $status (param i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]incoming-response.consume"
  (func $consume-response (param i32 i32)))
(import "wasi:http/types@0.2.0" "[resource-drop]incoming-response"
  (func $drop-response (param i32)))

;; At 0 is what functions return, at 256 are texts, from 1024 on what the host hands over.
(memory (export "memory") 2)
(data (i32.const 256) "content-typetext/plainhello")
(data (i32.const 288) "x-status")
(global $free (mut i32) (i32.const 1024))
(global $answered (mut i32) (i32.const 0))
(global $headers (mut i32) (i32.const 0))
(global $out (mut i32) (i32.const 0))
(global $body (mut i32) (i32.const 0))
(global $stream (mut i32) (i32.const 0))

(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (local $at i32)
  (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
  (global.set $free (i32.add (local.get $at) (local.get 3)))
  (if (i32.gt_u (global.get $free) (i32.const 131072)) (then (unreachable)))
  (local.get $at))

;; The handle of what is an ok at 0; an error is one that ends the call.
(func $ok (result i32)
  (if (i32.load8_u (i32.const 0)) (then (unreachable)))
  (i32.load (i32.const 4)))

;; Headers as most have them.
(func $plain
  (global.set $headers (call $fields))
  (call $append (global.get $headers)
    (i32.const 256) (i32.const 12) (i32.const 268) (i32.const 10) (i32.const 0)))

;; Begins the response.
(func $begin
  (local $response i32)
  (local.set $response (call $response (global.get $headers)))
  (call $response-body (local.get $response) (i32.const 0))
  (global.set $body (call $ok))
  (call $write-body (global.get $body) (i32.const 0))
  (global.set $stream (call $ok))
  (call $set (global.get $out) (i32.const 0) (local.get $response)
    (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))

;; Whether somebody takes it.
(func $put (param $at i32) (param $length i32) (result i32)
  (call $write (global.get $stream) (local.get $at) (local.get $length) (i32.const 0))
  (i32.eqz (i32.load8_u (i32.const 0))))

(func $hello
  (drop (call $put (i32.const 278) (i32.const 5))))

(func $end
  (call $drop-output (global.get $stream))
  (call $finish (global.get $body) (i32.const 0) (i32.const 0) (i32.const 0)))

;; Everything that is read from a stream.
(func $copy (param $input i32)
  (block $done
    (loop $more
      (global.set $free (i32.const 1024))
      (call $read (local.get $input) (i64.const 4096) (i32.const 0))
      (br_if $done (i32.load8_u (i32.const 0)))
      (br_if $more (i32.eqz (i32.load (i32.const 8))))
      (br_if $more (call $put (i32.load (i32.const 4)) (i32.load (i32.const 8)))))))

(func $echo (param $request i32)
  (local $body i32) (local $input i32)
  (call $plain)
  (call $begin)
  (call $request-body (local.get $request) (i32.const 0))
  (local.set $body (call $ok))
  (call $body-stream (local.get $body) (i32.const 0))
  (local.set $input (call $ok))
  (call $copy (local.get $input))
  (call $drop-input (local.get $input))
  (call $drop-body (local.get $body))
  (call $end))

;; A number of two digits at 512.
(func $digits (param $number i32)
  (i32.store8 (i32.const 512)
    (i32.add (i32.const 48) (i32.div_u (local.get $number) (i32.const 100))))
  (i32.store8 (i32.const 513)
    (i32.add (i32.const 48)
      (i32.rem_u (i32.div_u (local.get $number) (i32.const 10)) (i32.const 10))))
  (i32.store8 (i32.const 514)
    (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10)))))

;; The case of the error code in place of a response.
(func $failed (param $case i32)
  (call $plain)
  (call $begin)
  (call $digits (local.get $case))
  (drop (call $put (i32.const 512) (i32.const 3)))
  (call $end))

;; Where a byte is, or the end.
(func $find (param $at i32) (param $end i32) (param $byte i32) (result i32)
  (block $found
    (loop $next
      (br_if $found (i32.ge_u (local.get $at) (local.get $end)))
      (br_if $found (i32.eq (i32.load8_u (local.get $at)) (local.get $byte)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))
  (local.get $at))

;; The URL is http://AUTHORITY/PATH or https://AUTHORITY/PATH.
(func $request-to (param $url i32) (param $end i32) (result i32)
  (local $request i32) (local $host i32) (local $rest i32)
  (local.set $request (call $outgoing-request (call $fields)))
  (local.set $host
    (i32.add (i32.const 3) (call $find (local.get $url) (local.get $end) (i32.const 58))))
  (local.set $rest (call $find (local.get $host) (local.get $end) (i32.const 47)))
  (drop (call $set-scheme (local.get $request) (i32.const 1)
    (i32.eq (i32.sub (local.get $host) (local.get $url)) (i32.const 8))
    (i32.const 0) (i32.const 0)))
  (if (call $set-authority (local.get $request) (i32.const 1)
        (local.get $host) (i32.sub (local.get $rest) (local.get $host)))
    (then (unreachable)))
  (if (call $set-path (local.get $request) (i32.const 1)
        (local.get $rest) (i32.sub (local.get $end) (local.get $rest)))
    (then (unreachable)))
  (local.get $request))

(func $fetch (param $url i32) (param $end i32)
  (local $future i32) (local $pollable i32) (local $response i32)
  (local $body i32) (local $input i32)
  (call $send (call $request-to (local.get $url) (local.get $end))
    (i32.const 0) (i32.const 0) (i32.const 0))
  (if (i32.load8_u (i32.const 0))
    (then (call $failed (i32.load8_u (i32.const 8))) (return)))
  (local.set $future (i32.load (i32.const 8)))
  (local.set $pollable (call $subscribe (local.get $future)))
  (call $block (local.get $pollable))
  (call $drop-pollable (local.get $pollable))
  (call $get (local.get $future) (i32.const 0))
  (call $drop-future (local.get $future))
  (if (i32.load8_u (i32.const 16))
    (then (call $failed (i32.load8_u (i32.const 24))) (return)))
  (local.set $response (i32.load (i32.const 24)))
  (call $plain)
  (call $digits (call $status (local.get $response)))
  (call $append (global.get $headers)
    (i32.const 288) (i32.const 8) (i32.const 512) (i32.const 3) (i32.const 0))
  (call $begin)
  (call $consume-response (local.get $response) (i32.const 0))
  (local.set $body (call $ok))
  (call $body-stream (local.get $body) (i32.const 0))
  (local.set $input (call $ok))
  (call $copy (local.get $input))
  (call $drop-input (local.get $input))
  (call $drop-body (local.get $body))
  (call $drop-response (local.get $response))
  (call $end))

(func $flow
  (loop $more (br_if $more (call $put (i32.const 8192) (i32.const 4096))))
  (call $end))

(func $wait
  (local $pollable i32)
  (local.set $pollable (call $after (i64.const 3600000000000)))
  (call $block (local.get $pollable))
  (call $drop-pollable (local.get $pollable)))

(func $spin (loop $forever (br $forever)))

(func $grow
  (loop $more
    (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (unreachable)))
    (br $more)))

(func $count
  (call $plain)
  (call $begin)
  (i32.store8 (i32.const 512)
    (i32.add (i32.const 48) (i32.rem_u (global.get $answered) (i32.const 10))))
  (drop (call $put (i32.const 512) (i32.const 1)))
  (call $end))

;; The first two letters of the path say what.
(func $answer (param $request i32) (param $path i32) (param $length i32)
  (local $what i32)
  (local.set $what
    (if (result i32) (i32.ge_u (local.get $length) (i32.const 3))
      (then (i32.load16_u offset=1 (local.get $path)))
      (else (i32.const 0))))
  (if (i32.eq (local.get $what) (i32.const 0x6365)) (then ;; ec
    (call $echo (local.get $request)) (return)))
  (if (i32.eq (local.get $what) (i32.const 0x6f63)) (then ;; co
    (call $count) (return)))
  (if (i32.eq (local.get $what) (i32.const 0x6566)) (then ;; fe
    (call $fetch (i32.add (local.get $path) (i32.const 7))
      (i32.add (local.get $path) (local.get $length)))
    (return)))
  (if (i32.eq (local.get $what) (i32.const 0x7073)) (then (call $spin))) ;; sp
  (if (i32.eq (local.get $what) (i32.const 0x7267)) (then (call $grow))) ;; gr
  (if (i32.eq (local.get $what) (i32.const 0x7274)) (then (unreachable))) ;; tr
  (if (i32.eq (local.get $what) (i32.const 0x6f6e)) (then (return))) ;; no
  (if (i32.eq (local.get $what) (i32.const 0x7265)) (then ;; er
    (call $set (global.get $out) (i32.const 1) (i32.const 15)
      (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
    (return)))
  (call $plain)
  (call $begin)
  (if (i32.eq (local.get $what) (i32.const 0x6c66)) (then (call $flow) (return))) ;; fl
  (call $hello)
  (if (i32.eq (local.get $what) (i32.const 0x6177)) (then (call $wait))) ;; wa
  (if (i32.eq (local.get $what) (i32.const 0x616c)) (then (call $spin))) ;; la
  (if (i32.eq (local.get $what) (i32.const 0x7262)) (then (unreachable))) ;; br
  (if (i32.eq (local.get $what) (i32.const 0x6170)) (then ;; pa
    (call $drop-output (global.get $stream))
    (call $drop-outgoing-body (global.get $body))
    (return)))
  (if (i32.eq (local.get $what) (i32.const 0x706f)) (then (return))) ;; op
  (if (i32.eq (local.get $what) (i32.const 0x6873)) (then ;; sh
    (call $drop-output (global.get $stream))
    (return)))
  (call $end))

(func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
  (global.set $free (i32.const 1024))
  (global.set $out (local.get $out))
  (global.set $answered (i32.add (global.get $answered) (i32.const 1)))
  (call $path (local.get $request) (i32.const 0))
  (call $answer (local.get $request) (i32.load (i32.const 4)) (i32.load (i32.const 8)))
  (call $drop-request (local.get $request)))
