// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

/// Shared by every tensor of one scope; ended exactly once.
public final class Lifetime {
    private volatile boolean alive = true;

    public boolean isAlive() {
        return alive;
    }

    public void end() {
        alive = false;
    }
}
