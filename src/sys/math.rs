//! The one function of the C mathematics library that is called (by the progress bars), so that libm.so is not
//! loaded at every start.

/// pow(3).
// SAFETY: it has the type and the meaning the C library gives this name.
#[unsafe(no_mangle)]
extern "C" fn pow(base: f64, exponent: f64) -> f64 {
    libm::pow(base, exponent)
}
