;; wit: shop.wit
;; world: plugin
;; A component of a world that knows no messages: it asks its host for prices, and gives
;; out carts.
(import "acme:shop/catalog@1.0.0" "price" (func $price (param i32 i32 i32)))
(import "acme:shop/catalog@1.0.0" "own-coupon" (func $coupon (param i32)))
(import "acme:shop/catalog@1.0.0" "[method]coupon.percent"
  (func $percent (param i32) (result i32)))
(import "acme:shop/catalog@1.0.0" "[resource-drop]coupon" (func $drop-coupon (param i32)))
(import "[export]acme:shop/carts@1.0.0" "[resource-new]cart"
  (func $new-cart (param i32) (result i32)))

(memory (export "memory") 1)
(global $quotes (mut i32) (i32.const 0))
(global $free (mut i32) (i32.const 1024))

;; Texts are put over each other at 64; carts are put over each other after some thousand.
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (if (i32.gt_u (local.get 3) (i32.const 900)) (then (unreachable)))
  (i32.const 64))

;; The option<u64> is at 0: whether there is one, and at 8 what it is.
(func $ask (param $item i32) (param $length i32)
  (call $price (local.get $item) (local.get $length) (i32.const 0)))

;; At 16 is the option<coupon>.
(func $less-coupon (param $cents i64) (result i64)
  (local $handle i32) (local $share i32)
  (call $coupon (i32.const 16))
  (if (i32.eqz (i32.load8_u (i32.const 16))) (then (return (local.get $cents))))
  (local.set $handle (i32.load (i32.const 20)))
  (local.set $share (i32.sub (i32.const 100) (call $percent (local.get $handle))))
  (call $drop-coupon (local.get $handle))
  (i64.div_u
    (i64.mul (local.get $cents) (i64.extend_i32_u (local.get $share)))
    (i64.const 100)))

(func (export "quote") (param $item i32) (param $length i32) (param $count i32) (result i32)
  (global.set $quotes (i32.add (global.get $quotes) (i32.const 1)))
  (call $ask (local.get $item) (local.get $length))
  (i64.store (i32.const 8)
    (call $less-coupon
      (i64.mul (i64.load (i32.const 8)) (i64.extend_i32_u (local.get $count)))))
  (i32.const 0))

(func (export "quotes") (result i32)
  (global.get $quotes))

(func (export "acme:shop/carts@1.0.0#[constructor]cart") (result i32)
  (global.set $free (i32.add (global.get $free) (i32.const 8)))
  (if (i32.gt_u (global.get $free) (i32.const 0xff00))
    (then (global.set $free (i32.const 1024))))
  (i64.store (global.get $free) (i64.const 0))
  (call $new-cart (global.get $free)))

(func (export "acme:shop/carts@1.0.0#[method]cart.add")
  (param $cart i32) (param $item i32) (param $length i32) (param $count i32) (result i64)
  (call $ask (local.get $item) (local.get $length))
  (if (i32.load8_u (i32.const 0))
    (then
      (i64.store (local.get $cart)
        (i64.add (i64.load (local.get $cart))
          (i64.mul (i64.load (i32.const 8)) (i64.extend_i32_u (local.get $count)))))))
  (i64.load (local.get $cart)))

(func (export "acme:shop/carts@1.0.0#[method]cart.total") (param $cart i32) (result i64)
  (i64.load (local.get $cart)))

(func (export "spin") (loop $forever (br $forever)))

(func (export "grow")
  (loop $forever
    (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (unreachable)))
    (br $forever)))

(func (export "give-up") (unreachable))
