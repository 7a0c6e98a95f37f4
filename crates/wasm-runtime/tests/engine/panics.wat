;; A component that writes to its standard error, and then ends as it is told to.
(component
  (import "wasi:io/error@0.2.0" (instance $io-error
    (export "error" (type (sub resource)))))
  (alias export $io-error "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (alias outer 1 $error (type $e'))
    (export "error" (type $e (eq $e')))
    (export "output-stream" (type $out (sub resource)))
    (type $se' (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $se (eq $se')))
    (export "[method]output-stream.blocking-write-and-flush"
      (func (param "self" (borrow $out)) (param "contents" (list u8))
        (result (result (error $se)))))))
  (alias export $streams "output-stream" (type $output-stream))
  (import "wasi:cli/stderr@0.2.0" (instance $stderr
    (alias outer 1 $output-stream (type $out'))
    (export "output-stream" (type $out (eq $out')))
    (export "get-stderr" (func (result (own $out))))))
  (import "wasi:cli/exit@0.2.0" (instance $exit
    (export "exit" (func (param "status" (result))))))

  (core module $memory
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $m (instantiate $memory))
  (alias core export $m "memory" (core memory $mem))
  (core func $write (canon lower
    (func $streams "[method]output-stream.blocking-write-and-flush") (memory $mem)))
  (core func $get-stderr (canon lower (func $stderr "get-stderr")))
  (core func $leave (canon lower (func $exit "exit")))

  (core module $guest
    (import "m" "memory" (memory 1))
    (import "host" "write" (func $write (param i32 i32 i32 i32)))
    (import "host" "get-stderr" (func $get-stderr (result i32)))
    (import "host" "exit" (func $exit (param i32)))
    (func $say (param $text i32) (param $length i32)
      (call $write (call $get-stderr) (local.get $text) (local.get $length) (i32.const 16)))
    (func (export "say") (param $text i32) (param $length i32)
      (call $say (local.get $text) (local.get $length)))
    (func (export "panic") (param $text i32) (param $length i32)
      (call $say (local.get $text) (local.get $length))
      (unreachable))
    (func (export "leave") (param $text i32) (param $length i32)
      (call $say (local.get $text) (local.get $length))
      (call $exit (i32.const 1)))
    (func (export "miss") (param $text i32) (param $length i32)
      (call $say (local.get $text) (local.get $length))
      (drop (i32.load (i32.const -4))))
    (func (export "wordless") (unreachable)))
  (core instance $host
    (export "write" (func $write))
    (export "get-stderr" (func $get-stderr))
    (export "exit" (func $leave)))
  (core instance $g (instantiate $guest (with "m" (instance $m)) (with "host" (instance $host))))

  (func (export "say") (param "text" string)
    (canon lift (core func $g "say") (memory $mem) (realloc (func $m "realloc"))))
  (func (export "panic") (param "text" string)
    (canon lift (core func $g "panic") (memory $mem) (realloc (func $m "realloc"))))
  (func (export "leave") (param "text" string)
    (canon lift (core func $g "leave") (memory $mem) (realloc (func $m "realloc"))))
  (func (export "miss") (param "text" string)
    (canon lift (core func $g "miss") (memory $mem) (realloc (func $m "realloc"))))
  (func (export "wordless") (canon lift (core func $g "wordless"))))
