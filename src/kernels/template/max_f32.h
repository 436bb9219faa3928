/* The maximum that is NaN where either is. */
TN_INLINE vf vf_max_nan(vf a, vf b) { return vf_sel(vf_isnan(a), a, vf_max(a, b)); }
