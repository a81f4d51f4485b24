// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

/// Puts the largest of some numbers first. Which of equal ones they are is nobody's business but
/// where a model was trained, and its goldens were made, with the choice that torch makes: this is
/// its algorithm, introselect as GNU's library has it, without the bound on its depth.
///
/// @param index of each number
record Selection(double[] numbers, int[] index) {
    /// Moves the `most` largest of `count` numbers to the front.
    void largest(int most, int count) {
        int first = 0;
        int last = count;
        int nth = most - 1;
        while (last - first > 3) {
            int cut = partition(first, last);
            if (cut <= nth) {
                first = cut;
            } else {
                last = cut;
            }
        }
        sort(first, last);
    }

    private int partition(int first, int last) {
        swap(first, median(first + 1, first + (last - first) / 2, last - 1));
        double pivot = numbers[first];
        int low = first + 1;
        int high = last;
        while (true) {
            while (numbers[low] > pivot) {
                low++;
            }
            high--;
            while (pivot > numbers[high]) {
                high--;
            }
            if (low >= high) {
                return low;
            }
            swap(low, high);
            low++;
        }
    }

    private int median(int x, int y, int z) {
        if (before(x, y)) {
            return before(y, z) ? y : before(x, z) ? z : x;
        }
        return before(x, z) ? x : before(y, z) ? z : y;
    }

    private boolean before(int a, int b) {
        return numbers[a] > numbers[b];
    }

    /// By insertion.
    private void sort(int first, int last) {
        for (int i = first + 1; i < last; i++) {
            for (int j = i; j > first && before(j, j - 1); j--) {
                swap(j, j - 1);
            }
        }
    }

    private void swap(int a, int b) {
        double number = numbers[a];
        numbers[a] = numbers[b];
        numbers[b] = number;
        int i = index[a];
        index[a] = index[b];
        index[b] = i;
    }
}
