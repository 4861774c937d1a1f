"""Reference against candidate: answers, how far they are apart, how sure one can be, and the verdict."""
