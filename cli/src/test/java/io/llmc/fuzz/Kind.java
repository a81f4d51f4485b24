// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import java.io.IOException;
import java.nio.file.Path;
import java.util.SplittableRandom;

/// A kind of input that strangers write.
///
/// @param name on the command line
/// @param share of all cases, against those of the other kinds: about what time allows
/// @param mebibytes that one case may allocate on the Java heap, all together
/// @param mayCrash whether native code reads it, which can end the process
/// @param opening makes what all cases share
record Kind(String name, int share, int mebibytes, boolean mayCrash, Opening opening) {
    Kind(String name, int share, int mebibytes, Opening opening) {
        this(name, share, mebibytes, false, opening);
    }

    /// Makes a reader, once.
    @FunctionalInterface
    interface Opening {
        /// @param directory empty, for whatever the kind needs
        Reader open(Path directory) throws IOException;
    }

    /// What is tried.
    interface Reader {
        /// A case. It is the same whenever `random` is.
        Input make(SplittableRandom random);

        /// Reads it, as a command would; whatever is thrown is judged.
        void read(Input input) throws Exception;
    }

    /// One case.
    interface Input {
        /// For a person who looks into a finding.
        void save(Path directory) throws IOException;
    }
}
